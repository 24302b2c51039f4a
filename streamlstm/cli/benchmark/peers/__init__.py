"""What else is used for such work, each as its own documentation has it, on the same stream and with the same model.

A peer is a script in a process of its own. Its library is none of streamlstm's: it is looked up by name, so that
neither an install nor the type checker asks for it.
"""
