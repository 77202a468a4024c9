// The style sheet of the consent pages, inlined so that a page loads no resource. Light and dark, from 320 pixels wide.

export const CONNECT_STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f4f5f2; --card: #ffffff; --ink: #1b2320; --quiet: #55625c; --line: #dfe3de; --soft: #f0f3ef;
  --accent: #0f6b4f; --accent-strong: #0a5540; --on-accent: #ffffff; --focus: #1256c4;
  --warn-ground: #fdf4e0; --warn-ink: #6b4700; --warn-line: #ecd9a8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #111614; --card: #1a211e; --ink: #e8eeea; --quiet: #a3b1aa; --line: #2e3934; --soft: #212a26;
    --accent: #5fd0a5; --accent-strong: #86e2bf; --on-accent: #06231a; --focus: #8ab8ff;
    --warn-ground: #2d2613; --warn-ink: #f2d48a; --warn-line: #51431d;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; min-height: 100vh; min-height: 100dvh; padding: clamp(1rem, 5vw, 4rem) clamp(0.75rem, 4vw, 2rem);
  display: flex; flex-direction: column; align-items: center;
  background: var(--ground); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
header, main, footer { width: 100%; max-width: 35rem; }
header { display: flex; align-items: center; gap: 0.6rem; padding: 0 0.25rem 1rem; color: var(--quiet); font-weight: 600; letter-spacing: 0.01em; }
header svg { width: 1.5rem; height: 1.5rem; color: var(--accent); flex: none; }
main {
  background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
  padding: clamp(1.25rem, 5vw, 2.5rem); box-shadow: 0 1px 2px rgb(0 0 0 / 4%), 0 12px 32px rgb(0 0 0 / 5%);
}
footer { padding: 1.25rem 0.25rem 0; color: var(--quiet); font-size: 0.875rem; }
footer p { margin: 0; }
h1 { margin: 0 0 0.75rem; font-size: clamp(1.45rem, 5vw, 1.85rem); line-height: 1.2; letter-spacing: -0.015em; text-wrap: balance; }
h2 { margin: 2rem 0 0.75rem; font-size: 1rem; line-height: 1.4; }
p { margin: 0 0 0.75rem; }
.lead { font-size: 1.0625rem; }
.quiet { color: var(--quiet); }
strong, .name { overflow-wrap: anywhere; }
.notice {
  margin: 1.25rem 0 1.5rem; padding: 0.75rem 1rem; border: 1px solid var(--warn-line); border-radius: 0.6rem;
  background: var(--warn-ground); color: var(--warn-ink);
}
.notice p { margin: 0; }
ul.scopes { list-style: none; margin: 0; padding: 0; border: 1px solid var(--line); border-radius: 0.75rem; overflow: hidden; }
ul.scopes > li { padding: 0.85rem 1rem; }
ul.scopes > li + li { border-top: 1px solid var(--line); }
.scope { display: block; font-weight: 600; overflow-wrap: anywhere; }
code { font: 0.8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; color: var(--quiet); overflow-wrap: anywhere; }
ul.why { list-style: none; margin: 0.35rem 0 0; padding: 0; font-size: 0.9375rem; color: var(--quiet); }
ul.why .name { color: var(--ink); }
form { margin: 2rem 0 0; }
.field { margin: 0 0 1.25rem; }
label.title { display: block; margin: 0 0 0.35rem; font-weight: 600; }
input[type="text"], select {
  width: 100%; min-height: 2.9rem; padding: 0.55rem 0.8rem; border: 1px solid var(--quiet); border-radius: 0.6rem;
  background: var(--card); color: var(--ink); font: inherit;
}
input[aria-invalid="true"], select[aria-invalid="true"] { border-color: var(--warn-ink); border-width: 2px; }
.problem { margin: 0.35rem 0 0; color: var(--warn-ink); font-size: 0.9375rem; }
fieldset { margin: 0 0 1.5rem; padding: 0; border: 1px solid var(--line); border-radius: 0.75rem; overflow: hidden; }
legend { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
label.choice { display: flex; gap: 0.75rem; align-items: flex-start; padding: 0.85rem 1rem; cursor: pointer; }
label.choice + label.choice { border-top: 1px solid var(--line); }
label.choice:hover { background: var(--soft); }
label.choice input { width: 1.15rem; height: 1.15rem; margin: 0.2rem 0 0; accent-color: var(--accent); flex: none; }
label.choice span { min-width: 0; overflow-wrap: anywhere; }
button, .button {
  display: inline-block; width: 100%; min-height: 3.1rem; padding: 0.75rem 1.25rem; border: 0; border-radius: 0.7rem;
  background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 650; text-align: center; text-decoration: none; cursor: pointer;
}
button:hover, .button:hover { background: var(--accent-strong); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 3px; }
.promise { margin: 1.5rem 0 0; padding: 1rem 0 0; border-top: 1px solid var(--line); font-size: 0.9375rem; color: var(--quiet); }
.promise p:last-child { margin: 0; }
.mark { display: block; width: 3.25rem; height: 3.25rem; margin: 0 0 1.25rem; color: var(--accent); }
@media (forced-colors: active) { button, .button { border: 1px solid ButtonText; } }
@media (prefers-reduced-motion: no-preference) { button, .button, label.choice { transition: background-color 120ms ease-out; } }
`;
