"""What a long training needs beside its toolbox: data that resume exactly, checkpoints, signals, ranks, speed."""
