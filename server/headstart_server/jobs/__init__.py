"""The job, its durable store and queue, the worker pool, and the steps of a fine-tune."""
