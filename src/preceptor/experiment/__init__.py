"""Two releases of one agent, compared on clinicians who keep their arm."""
