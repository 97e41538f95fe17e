"""What is live, measured: five numbers with their intervals, drift, alerts."""
