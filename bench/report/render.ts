/** Renders figures as SVG files, and as one self-contained HTML page. */
import { join, resolve } from "node:path";
import { buildSync } from "esbuild";
import type { Figure } from "./figures";

/** A figure as SVG, with its title for screen readers. */
export async function svgOf({ title, spec }: Figure): Promise<string> {
    // Vega is an ES module with top-level await, which require() cannot load.
    const vega = await import("vega");
    const { compile } = await import("vega-lite");
    const view = new vega.View(vega.parse(compile(spec).spec), { renderer: "none", logLevel: vega.Error });
    try {
        const svg = await view.toSVG();
        return `${svg.replace(/(<svg [^>]*>)/, `$1<title>${escapeHtml(title)}</title>`)}\n`;
    } finally {
        view.finalize();
    }
}

/** A section of the page: HTML or a figure. */
export type Section = { readonly html: string } | { readonly figure: Figure };

/** The HTML page with all sections. */
export async function pageOf(title: string, sections: readonly Section[]): Promise<string> {
    const { compile } = await import("vega-lite");
    const shown = sections.flatMap((section) => ("figure" in section ? [section.figure] : []));
    const specs = Object.fromEntries(shown.map(({ name, spec }) => [name, compile(spec).spec]));
    const body = sections.map((section) =>
        "html" in section
            ? section.html
            : `<figure><h2>${escapeHtml(section.figure.title)}</h2><div class="plot" id="${section.figure.name}"></div>` +
              `<figcaption>${escapeHtml(section.figure.caption)}</figcaption></figure>`,
    );
    return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escapeHtml(title)}</h1>
${body.join("\n")}
<script type="application/json" id="specs">${JSON.stringify(specs).replaceAll("<", "\\u003c")}</script>
<script>${player()}</script>
</body>
</html>
`;
}

/** Escapes text for HTML. */
export function escapeHtml(text: string): string {
    return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

const STYLE = `
body { font: 15px/1.5 Helvetica, Arial, sans-serif; color: #222; max-width: 1080px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
th, td { padding: 3px 10px; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
th { background: #f5f5f5 }
figure { margin: 2.5em 0 }
figcaption { color: #555; max-width: 60em }
.plot { overflow-x: auto }
code { background: #f3f3f3; padding: 0 3px }
#vg-tooltip-element { font-size: 12px }
`;

/** The script that draws the specifications in a browser: Vega with its tooltips. */
function player(): string {
    const source = `
        import * as vega from "vega";
        import { Handler } from "vega-tooltip";
        const specs = JSON.parse(document.getElementById("specs").textContent);
        for (const [name, spec] of Object.entries(specs)) {
            new vega.View(vega.parse(spec), {
                renderer: "svg", container: "#" + name, hover: true, tooltip: new Handler().call,
            }).runAsync();
        }`;
    const result = buildSync({
        stdin: { contents: source, resolveDir: resolve(join(__dirname, "../..")) },
        bundle: true,
        minify: true,
        write: false,
        format: "iife",
        target: "es2022",
        legalComments: "none",
        logLevel: "error",
    });
    return (result.outputFiles[0]?.text ?? "").replaceAll("</script", "<\\/script");
}
