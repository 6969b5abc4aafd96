#!/usr/bin/env bash
# What a stack needs before Pulumi runs on it: packages, and for machines on a cloud the files that they fetch, with
# their list. The pipeline and scripts/ci/preview.sh call it alike.
# usage: scripts/ci/prepare.sh STACK
set -euo pipefail
stack=${1:?usage: scripts/ci/prepare.sh STACK}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ -f "Pulumi.$stack.yaml" ] || {
    echo "there is no Pulumi.$stack.yaml" >&2
    exit 1
}

# A checkout that has its packages is left as it is.
[ -d node_modules ] || npm ci

# A preview compares checksums of these files, so they have to be made of these sources.
if grep -Eq '^ *gateway:image:' "Pulumi.$stack.yaml"; then
    npm run --silent artifacts -- --out artifacts
fi
