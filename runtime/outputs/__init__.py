"""Writers that stream any number of images in constant memory; one module per kind of output."""
