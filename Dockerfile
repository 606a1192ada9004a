# A Space with `sdk: docker` uses this as it is; locally: docker build -t genarium . && docker run -p 7860:7860 genarium
FROM python:3.11-slim

# To get PyTorch without CUDA (several GB less), pass the index of its CPU builds.
ARG PIP_EXTRA_INDEX_URL=""

# Spaces run containers as user 1000.
RUN useradd --create-home --uid 1000 user
USER user
WORKDIR /home/user/app
ENV PATH=/home/user/.local/bin:$PATH \
    HF_HOME=/home/user/.cache/huggingface \
    PYTHONUNBUFFERED=1 \
    FORWARDED_ALLOW_IPS=*
# The last: a Space's proxy names the visitor, whose calls and uploads are counted. Leave it out where no proxy is in front.

# Dependencies first: they change less often than the code.
COPY --chown=user requirements.txt .
RUN pip install --no-cache-dir --user -r requirements.txt

COPY --chown=user . .

EXPOSE 7860
CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "7860"]
