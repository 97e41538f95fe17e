"""The addresses that the seed document names; everything behind them lives in `preceptor`."""
