# One image for every process of ours; compose.yaml says which command a container runs. torch comes as its CUDA
# build (about 4.5 GB), also with EXTRAS=cpu; EXTRAS=gpu adds faiss-gpu.
FROM python:3.11-slim

ARG EXTRAS=cpu

# A user of its own: crawl data is hostile, and nothing here needs root.
RUN useradd --create-home --uid 10001 finestream && mkdir /data /cache && chown finestream /data /cache
WORKDIR /app
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY streams streams
COPY workers workers
COPY trainer trainer
COPY monitoring monitoring
# Byte code now: the user below can't write it, and compiling torch at each start would take 12 s.
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache --compile-bytecode ".[${EXTRAS}]"

USER finestream
VOLUME /data
ENV FINESTREAM_DATA_DIR=/data PYTHONUNBUFFERED=1
ENTRYPOINT ["finestream"]
CMD ["--help"]
