"""`preceptor demo`: the whole round on this machine, from nothing; interrupted, it goes on."""

from __future__ import annotations


def main(words: list[str]) -> None:
    import tyro

    from preceptor.demo.config import DemoConfig
    from preceptor.demo.run import run_demo
    from preceptor.settings import load_settings

    config = tyro.cli(DemoConfig, args=words, prog="preceptor demo", config=(tyro.conf.AvoidSubcommands,))
    run_demo(config, load_settings())
