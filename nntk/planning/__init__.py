"""Planning a training: which regularization, width and cost a data set asks for (`nntk plan`)."""
