"""Writers of many images in constant memory, one module for each kind of output."""
