"""`preceptor demo`: the whole round on this machine, from nothing; interrupted, it goes on."""

from __future__ import annotations


def main(words: list[str]) -> None:
    from preceptor.commands.parsing import configure
    from preceptor.demo.config import DemoConfig

    (config,) = configure([DemoConfig], words, prog="demo")

    from preceptor.demo.run import run_demo  # heavy: `--help` must not wait for it
    from preceptor.settings import load_settings

    run_demo(config, load_settings())
