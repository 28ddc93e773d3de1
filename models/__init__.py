"""Networks only: transforms, hyper and context networks. They import nothing of rarefy but each other and kernels."""
