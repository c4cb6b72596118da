"""The job, its durable ledger and queue, the worker pool, and the steps of a fine-tune."""
