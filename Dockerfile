# The program in an image: docker build -t optlstm . ; docker run --rm -v "$PWD:/work" optlstm --data sales.csv
# TORCH=cuda takes PyPI's build of torch, for NVIDIA's GPUs; cpu (default) the small one.
FROM python:3.11-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY optlstm optlstm
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ARG TORCH=cpu
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /wheels
RUN if [ "$TORCH" = cpu ]; then \
        index="--extra-index-url https://download.pytorch.org/whl/cpu"; sed -i 's/^torch==.*/&+cpu/' /tmp/constraints.txt; \
    fi \
    && pip install --no-cache-dir --no-compile $index -c /tmp/constraints.txt "$(ls /wheels/*.whl)[ray,postgres]" \
    && rm -r /wheels /tmp/constraints.txt \
    && useradd --uid 1000 --create-home optlstm \
    && install -d -o optlstm /work
USER optlstm
WORKDIR /work
ENTRYPOINT ["optlstm", "study"]
