/** Golden files: what a rendering has to look like, in `tests/golden/`. `UPDATE_GOLDEN=1` writes them anew. */
import * as assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Fails unless `content` is that of the golden file of this name. */
export function assertGolden(name: string, content: string): void {
    const path = join(__dirname, name);
    if (process.env.UPDATE_GOLDEN) {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, content);
    }
    assert.ok(existsSync(path), `no golden file ${name}; UPDATE_GOLDEN=1 writes it`);
    assert.equal(content, readFileSync(path, "utf8"), `differs from ${name}; UPDATE_GOLDEN=1 writes it anew`);
}
