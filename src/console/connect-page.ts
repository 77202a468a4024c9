// The page behind a link, for a person who has no login here: what is asked of their account and why, in plain words and plain HTML.
// It must never run a script, load anything, or let a text that is not ours be anything but text.
import { html, raw } from 'hono/html';
import { sha256OfText } from '../crypto/primitives.ts';
import type { ConnectParameter, ConnectScope, ConnectView } from '../http/v1/wire-connections.ts';
import { CONNECT_STYLE } from './connect-style.ts';

type Markup = ReturnType<typeof html>;
type Of<K extends ConnectView['kind']> = Extract<ConnectView, { kind: K }>;

const STYLE_HASH = Buffer.from(sha256OfText(CONNECT_STYLE)).toString('base64');

/** One whole page. */
export function connectPage(view: ConnectView): { readonly html: string; readonly styleHash: string } {
  const { title, body, foot } = partsOf(view);
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<title>${title}</title>
<style>${raw(CONNECT_STYLE)}</style>
</head>
<body>
<header>${KEY}<span>Keyturn</span></header>
<main>
${body}
</main>
<footer>${foot ?? html`<p>Keyturn keeps access to accounts in a vault. You can close this window at any time.</p>`}</footer>
</body>
</html>
`;
  return { html: String(page), styleHash: STYLE_HASH };
}

interface Parts {
  readonly title: string;
  readonly body: Markup;
  readonly foot?: Markup;
}

function partsOf(view: ConnectView): Parts {
  switch (view.kind) {
    case 'ask':
      return ask(view);
    case 'choose':
      return choose(view);
    case 'done':
      return done(view);
    case 'refused':
      return refused(view);
    default:
      return PLAIN[view.kind];
  }
}

const KEY = raw(
  '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" ' +
    'aria-hidden="true" focusable="false"><circle cx="8" cy="15.5" r="4.5"/><path d="M11.2 12.3 20 3.5M16.2 7.3l3 3M13.6 9.9l2 2"/></svg>',
);
const CHECK = raw(
  '<svg class="mark" viewBox="0 0 48 48" fill="none" stroke="currentColor" stroke-width="3" stroke-linecap="round" ' +
    'stroke-linejoin="round" aria-hidden="true" focusable="false"><circle cx="24" cy="24" r="21"/><path d="m15 24.5 6.5 6.5L34 18"/></svg>',
);

function ask(view: Of<'ask'>): Parts {
  const { provider, host, tenant, description, scopes, parameters, action, notice, expiresAt } = view;
  return {
    title: `Connect ${provider}`,
    body: html`<h1>Connect ${provider}</h1>
${notice === undefined ? '' : html`<div class="notice" role="status"><p>${NOTICES[notice]}</p></div>`}
<p class="lead">You are asked to connect your ${provider} account for <strong>${tenant}</strong>.</p>
${description === '' ? '' : html`<p class="quiet">${description}</p>`}
<p>Next, your browser goes to <strong>${host}</strong>, where you sign in and agree. Nothing is connected before you do.</p>
${scopes.length === 0 ? html`<p class="quiet">${provider} itself shows what is asked for.</p>` : asked(scopes)}
<form method="post" action="${action}">
${parameters.map(field)}
<input type="hidden" name="leads-to" value="${host}">
<button type="submit">Continue to ${host}</button>
</form>
<div class="promise">
<p>Access goes straight into a vault, encrypted: nobody sees it on the way, and every use is recorded.</p>
<p>You can take it back in your ${provider} account whenever you like.</p>
</div>`,
    foot: html`<p>This link works once, until <time datetime="${expiresAt}">${inWords(expiresAt)}</time>. Nobody expected it? Close this window; nothing happens.</p>`,
  };
}

const NOTICES = {
  declined: 'You said no at the provider, and nothing was connected. If that was a mistake, try again.',
  failed:
    'That did not work: the provider gave no access, and nothing was connected. Please try again; if it happens again, tell whoever sent you the link.',
} as const;

function asked(scopes: readonly ConnectScope[]): Markup {
  return html`<section aria-labelledby="asked">
<h2 id="asked">What it may do, and what for</h2>
<ul class="scopes">${scopes.map(
    ({ scope, title, workflows }) => html`
<li><span class="scope">${title}</span>${title === scope ? '' : html`<code>${scope}</code>`}
<ul class="why">${
      workflows.length === 0
        ? html`<li>Needed for the connection itself</li>`
        : workflows.map(
            ({ name, why }) => html`<li>For <span class="name">${name}</span>${why === undefined ? '' : html`: ${why}`}</li>`,
          )
    }</ul></li>`,
  )}
</ul>
</section>`;
}

function field({ name, title, shape, value, values, problem }: ConnectParameter): Markup {
  const id = `field-${name}`;
  const invalid = problem === undefined ? '' : html` aria-invalid="true" aria-describedby="${id}-problem"`;
  const control =
    values === undefined
      ? html`<input type="text" id="${id}" name="${name}" value="${value}" required maxlength="255" autocomplete="off" autocapitalize="none" spellcheck="false"${invalid}>`
      : html`<select id="${id}" name="${name}" required${invalid}>${values.map(
          (one) => html`<option value="${one}"${one === value ? raw(' selected') : ''}>${one}</option>`,
        )}</select>`;
  return html`<div class="field"><label class="title" for="${id}">${title}</label>
${control}${
  problem === undefined
    ? ''
    : html`<p class="problem" id="${id}-problem">${shape === 'host' ? 'Please write a host name, such as name.example.com.' : 'Please write the name alone: letters, digits, - and _.'}</p>`
}</div>
`;
}

const NOT_YET = html`<p>One step is left: please keep this window open until you have chosen.</p>`;

function choose({ provider, title, choices, action }: Of<'choose'>): Parts {
  if (choices === undefined) {
    return {
      title: `Connect ${provider}`,
      body: html`<h1>One question is left</h1>
<p class="lead">Your ${provider} account is connected, but ${provider} did not tell us what to choose from.</p>
<form method="post" action="${action}"><button type="submit">Ask ${provider} again</button></form>`,
      foot: NOT_YET,
    };
  }
  return {
    title: `Connect ${provider}: ${title}`,
    body: html`<h1>${title === '' ? 'Which one is meant?' : title}</h1>
<p class="lead">Your ${provider} account is connected. It covers several places: please choose the one that is meant.</p>
<form method="post" action="${action}">
<fieldset><legend>${title === '' ? 'Which one is meant?' : title}</legend>
${choices.map(
  ({
    id,
    label,
  }) => html`<label class="choice"><input type="radio" name="choice" value="${id}" required><span>${label}</span></label>
`,
)}</fieldset>
<button type="submit">Use this one</button>
</form>`,
    foot: NOT_YET,
  };
}

function done({ provider, tenant }: Of<'done'>): Parts {
  return {
    title: `${provider} is connected`,
    body: html`${CHECK}<h1>${provider} is connected</h1>
<p class="lead">Thank you. The account is connected for <strong>${tenant}</strong>, and its access lies in the vault.</p>
<p class="quiet">There is nothing more to do; you can close this window. The link you came by is used up.</p>`,
  };
}

const REASONS: Readonly<Record<string, string>> = {
  other_browser:
    'You began in another browser, or a while ago. For your safety an answer counts only in the browser that asked for it.',
  attempt_expired: 'It took longer than a quarter of an hour, so the attempt is over.',
  state_unknown: 'This answer was used already, or you began again since.',
  issuer_missing: 'The answer did not say who it comes from, so it was not believed.',
  issuer_wrong: 'The answer came from another provider than the one you were sent to, so it was not believed.',
  link_ended_meanwhile: 'The link ended while you were away. Ask whoever sent it for a new one.',
  other_site: 'The button was pressed on another site than this one.',
};

function refused({ reason, startAgain }: Of<'refused'>): Parts {
  return {
    title: 'Nothing was changed',
    body: html`<h1>Nothing was changed</h1>
<p class="lead">${REASONS[reason] ?? 'The answer of the provider could not be used.'}</p>
${
  startAgain === undefined
    ? html`<p>Please open the link you were sent once more, in the browser you want to use.</p>`
    : html`<p><a class="button" href="${startAgain}">Start again</a></p>`
}`,
  };
}

const PLAIN: Readonly<Record<'gone' | 'busy' | 'broken' | 'trouble', Parts>> = {
  gone: {
    title: 'This link leads nowhere',
    body: html`<h1>This link leads nowhere</h1>
<p class="lead">It was used already, it has expired, or it was never one.</p>
<p>Please ask whoever sent it to you for a new one.</p>`,
  },
  busy: {
    title: 'Too many tries',
    body: html`<h1>Too many tries</h1>
<p class="lead">From where you are, too many links led nowhere just now. Please wait a minute and try again.</p>`,
  },
  broken: {
    title: 'This link cannot be used',
    body: html`<h1>This link cannot be used</h1>
<p class="lead">Something in its settings does not fit. Please tell whoever sent it to you; you have done nothing wrong.</p>`,
  },
  trouble: {
    title: 'That did not work',
    body: html`<h1>That did not work</h1>
<p class="lead">Something went wrong on our side. Please open the link again in a few minutes.</p>`,
  },
};

function inWords(at: string): string {
  return `${at.slice(0, 10)}, ${at.slice(11, 16)} UTC`;
}
