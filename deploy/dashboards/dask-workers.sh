#!/usr/bin/env bash
# Where Dask's workers serve their metrics, as a file for Prometheus (file_sd_configs):
#   deploy/dashboards/dask-workers.sh http://127.0.0.1:8787 > dask-workers.json
set -euo pipefail
targets=$(curl -fsS "$1/info/main/workers.html" | sed -nE 's|.*proxy/([0-9]+)/([^/]+)/status.*|"\2:\1"|p' | sort -u | paste -sd,)
echo "[{\"targets\": [$targets]}]"
