"""Parts of a long training that both adapters share: resumable data, checkpoints, signals, ranks, speed."""
