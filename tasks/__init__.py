"""The steps a flow wires together: thin Prefect tasks, each around one step of an episode's run."""
