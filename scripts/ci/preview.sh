#!/usr/bin/env bash
# Runs the pipeline's preview on your computer, with the same preparation, program and engine. Writes the comment to a file.
# usage: scripts/ci/preview.sh STACK [REPORT.md]
set -euo pipefail
stack=${1:?usage: scripts/ci/preview.sh STACK [REPORT.md]}
report=${2:+$(realpath -m "$2")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scripts/ci/prepare.sh "$stack"
npm run --silent preview -- "$stack" ${report:+--markdown "$report"}
