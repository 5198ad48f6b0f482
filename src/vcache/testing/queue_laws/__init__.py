"""The laws of queues, in the parts that `vcache.testing.queues` puts together."""
