"""A run on a bare machine: a tiny model grown on the spot, trained by stock verl with the real recipe."""
