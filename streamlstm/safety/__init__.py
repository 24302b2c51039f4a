"""Guards against what strangers give: files, texts, arrays; and files that are written whole or not at all."""
