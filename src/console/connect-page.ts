// The consent pages, for a person without a Keyturn login: which access is requested and why, in plain HTML.
// It must never run a script, load a resource, or insert text of a provider or caller unescaped.
import { html, raw } from 'hono/html';
import { sha256OfText } from '../crypto/primitives.ts';
import type { ConnectParameter, ConnectScope, ConnectView } from '../http/v1/wire-connections.ts';
import { CONNECT_STYLE } from './connect-style.ts';

type Markup = ReturnType<typeof html>;
type Of<K extends ConnectView['kind']> = Extract<ConnectView, { kind: K }>;

const STYLE_HASH = Buffer.from(sha256OfText(CONNECT_STYLE)).toString('base64');

/** Renders a complete page. */
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
<p>Next, you sign in at <strong>${host}</strong> and confirm the access there. Nothing is connected before that.</p>
${scopes.length === 0 ? html`<p class="quiet">${provider} shows which access is requested.</p>` : scopeList(scopes)}
<form method="post" action="${action}">
${parameters.map(field)}
<input type="hidden" name="leads-to" value="${host}">
<button type="submit">Continue to ${host}</button>
</form>
<div class="promise">
<p>The access token is stored encrypted in a vault. No person sees it when you connect, and every use is recorded.</p>
<p>You can remove this access in your ${provider} account at any time.</p>
</div>`,
    foot: html`<p>This link works once, until <time datetime="${expiresAt}">${inWords(expiresAt)}</time>. If you did not expect it, close this window: nothing is connected.</p>`,
  };
}

const NOTICES = {
  declined: 'You declined at the provider, so nothing was connected. If you did not mean to decline, try again.',
  failed:
    'The provider did not grant access, so nothing was connected. Please try again. If it fails again, tell the person who sent you the link.',
} as const;

function scopeList(scopes: readonly ConnectScope[]): Markup {
  return html`<section aria-labelledby="asked">
<h2 id="asked">Requested access and its purpose</h2>
<ul class="scopes">${scopes.map(
    ({ scope, title, workflows }) => html`
<li><span class="scope">${title}</span>${title === scope ? '' : html`<code>${scope}</code>`}
<ul class="why">${
      workflows.length === 0
        ? html`<li>Required for the connection itself</li>`
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
    : html`<p class="problem" id="${id}-problem">${shape === 'host' ? 'Please enter a host name, such as name.example.com.' : 'Please enter only the name: letters, digits, - and _.'}</p>`
}</div>
`;
}

const NOT_YET = html`<p>One step remains. Please keep this window open until you have made your choice.</p>`;

function choose({ provider, title, choices, action }: Of<'choose'>): Parts {
  if (choices === undefined) {
    return {
      title: `Connect ${provider}`,
      body: html`<h1>One question remains</h1>
<p class="lead">Your ${provider} account is connected, but ${provider} did not send the list of choices.</p>
<form method="post" action="${action}"><button type="submit">Ask ${provider} again</button></form>`,
      foot: NOT_YET,
    };
  }
  return {
    title: `Connect ${provider}: ${title}`,
    body: html`<h1>${title === '' ? 'Which one do you want to connect?' : title}</h1>
<p class="lead">Your ${provider} account is connected. It includes several of these: please choose one.</p>
<form method="post" action="${action}">
<fieldset><legend>${title === '' ? 'Which one do you want to connect?' : title}</legend>
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
<p class="lead">Thank you. The account is connected for <strong>${tenant}</strong>, and its access token is stored in the vault.</p>
<p class="quiet">You can close this window. The link cannot be used again.</p>`,
  };
}

const REASONS: Readonly<Record<string, string>> = {
  other_browser:
    'You started in another browser, or too long ago. For your safety, you must finish in the browser in which you started.',
  attempt_expired: 'The sign-in took longer than 15 minutes, so the attempt has expired.',
  state_unknown: 'This answer was already used, or you have started again since.',
  issuer_missing: 'The answer did not name its sender, so it was rejected.',
  issuer_wrong: 'The answer came from another provider than the one you signed in at, so it was rejected.',
  link_ended_meanwhile: 'The link expired or was cancelled while you signed in. Please ask the person who sent it for a new one.',
  other_site: 'The request came from another website.',
};

function refused({ reason, startAgain }: Of<'refused'>): Parts {
  // Of a link that ended there is nothing to start again.
  const isOver = reason === 'link_ended_meanwhile';
  return {
    title: 'Nothing was changed',
    body: html`<h1>Nothing was changed</h1>
<p class="lead">${REASONS[reason] ?? 'The answer of the provider could not be used.'}</p>
${
  isOver
    ? ''
    : startAgain === undefined
      ? html`<p>Please open the link that you received again, in the browser you want to use.</p>`
      : html`<p><a class="button" href="${startAgain}">Start again</a></p>`
}`,
  };
}

const PLAIN: Readonly<Record<'gone' | 'busy' | 'broken' | 'trouble', Parts>> = {
  gone: {
    title: 'This link is not valid',
    body: html`<h1>This link is not valid</h1>
<p class="lead">It was already used, it has expired, or it is incomplete.</p>
<p>Please ask the person who sent it to you for a new one.</p>`,
  },
  busy: {
    title: 'Too many attempts',
    body: html`<h1>Too many attempts</h1>
<p class="lead">Too many links that are not valid were opened from your network. Please wait a minute and try again.</p>`,
  },
  broken: {
    title: 'This link cannot be used',
    body: html`<h1>This link cannot be used</h1>
<p class="lead">Its settings are not correct. Please tell the person who sent it to you. You did nothing wrong.</p>`,
  },
  trouble: {
    title: 'That did not work',
    body: html`<h1>That did not work</h1>
<p class="lead">An error occurred on our side. Please open the link again in a few minutes.</p>`,
  },
};

function inWords(at: string): string {
  return `${at.slice(0, 10)}, ${at.slice(11, 16)} UTC`;
}
