DROP TABLE swept_vectors;
