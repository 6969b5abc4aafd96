#!/usr/bin/env bash
# Uploads the files that machines fetch at boot (built by scripts/ci/prepare.sh) to the bucket behind gateway:image.artifacts.
# Checksums name the files. It never changes or removes one, so that the loop can still replace running machines.
# usage: scripts/ci/publish.sh s3://BUCKET/FOLDER
set -euo pipefail
destination=${1:?usage: scripts/ci/publish.sh s3://BUCKET/FOLDER}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec aws s3 sync artifacts "$destination" --size-only --no-progress
