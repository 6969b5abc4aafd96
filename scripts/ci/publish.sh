#!/usr/bin/env bash
# Uploads what machines fetch at boot (made by scripts/ci/prepare.sh) to where gateway:image.artifacts is served from.
# Files are named by their checksums: none is ever changed or removed, so that running machines can still be replaced.
# usage: scripts/ci/publish.sh s3://BUCKET/FOLDER
set -euo pipefail
destination=${1:?usage: scripts/ci/publish.sh s3://BUCKET/FOLDER}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec aws s3 sync artifacts "$destination" --size-only --no-progress
