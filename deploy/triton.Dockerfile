# The official image lacks `tokenizers`, without which the tokenizer model does not load and tritonserver exits.
FROM nvcr.io/nvidia/tritonserver:24.10-py3
RUN pip install --no-cache-dir 'tokenizers==0.23.3'
COPY model_repository /models
USER 1000
ENTRYPOINT ["tritonserver"]
CMD ["--model-repository=/models", "--model-control-mode=none", "--allow-http=false", "--disable-auto-complete-config"]
