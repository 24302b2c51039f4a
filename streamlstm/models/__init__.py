"""Step models: what a file says of itself, and how it is run (`streamlstm.load` opens one); the packaged one."""
