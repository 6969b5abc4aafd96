#!/usr/bin/env bash
# The pipeline's preview on one's own computer: the same preparation, the same program, the same engine, and the comment
# as a file.
# usage: scripts/ci/preview.sh STACK [REPORT.md]
set -euo pipefail
stack=${1:?usage: scripts/ci/preview.sh STACK [REPORT.md]}
report=${2:+$(realpath -m "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scripts/ci/prepare.sh "$stack"
npm run --silent preview -- "$stack" ${report:+--markdown "$report"}
