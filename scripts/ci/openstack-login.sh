#!/usr/bin/env bash
# For the pipeline: writes the variable CLOUDS_YAML, if set, to clouds.yaml, the login file of OpenStack's tools, and passes
# its path to the next steps.
set -euo pipefail
[ -n "${CLOUDS_YAML:-}" ] || exit 0
file=${RUNNER_TEMP:?run this in a GitHub workflow}/clouds.yaml
(umask 077 && printf '%s\n' "$CLOUDS_YAML" > "$file")
printf 'OS_CLIENT_CONFIG_FILE=%s\n' "$file" >> "${GITHUB_ENV:?}"
