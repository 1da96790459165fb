"""Language models of others, read and written without their code: GPT-2 and Llama folders, GGUF."""
