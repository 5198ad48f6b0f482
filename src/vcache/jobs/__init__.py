"""A durable queue of jobs, workers that run them, schedules, and workflows."""
