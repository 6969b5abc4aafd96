#!/usr/bin/env bash
# For the pipeline: makes the login file of OpenStack's tools, clouds.yaml, of the variable CLOUDS_YAML, where there is one,
# and tells the steps that follow where it is.
set -euo pipefail
[ -n "${CLOUDS_YAML:-}" ] || exit 0
file=${RUNNER_TEMP:?this is for the pipeline of GitHub}/clouds.yaml
(umask 077 && printf '%s\n' "$CLOUDS_YAML" > "$file")
printf 'OS_CLIENT_CONFIG_FILE=%s\n' "$file" >> "${GITHUB_ENV:?}"
