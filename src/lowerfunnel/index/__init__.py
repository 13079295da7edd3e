"""Search for the items of largest inner product: exact and FAISS behind one contract."""
