"""`--format c`: the generator as one C99 file that gives the same image, to the bit, everywhere."""
