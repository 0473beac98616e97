"""What `labs`, which writes runs, and `multirun_analysis`, which reads them, must agree on; neither imports the other."""

# Keys of a configuration that change no result beyond rounding: the hash and the groups leave them out. A branch stands for all
# keys in it.
NOT_IN_HASH = (
    "hydra", "study", "seed", "replicas", "device", "plan", "resume", "logger",
    "dataset.data_dir", "dataset.download",
    "trainer.eval_batch_size", "trainer.save_every", "trainer.log_every", "trainer.num_threads",
)  # fmt: skip

# Keys added later, with the values that earlier runs were trained with: with these the hash is unchanged.
ADDED = {"scheduler.monitor": "val_loss", "trainer.engine": "auto"}
