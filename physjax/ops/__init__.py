"""Array functions without parameters: the convolution and the pools."""
