// The route of connectors: what each can do and which parameters it takes.
import type { Connector, ConnectorByKind, LostAnswer } from '../../../rotation/connector.ts';
import type { HomeContext } from '../context.ts';
import { type Route, route } from '../route.ts';
import { connectorList, type WireConnector } from './wire-connections.ts';

export const connectorRoutes: readonly Route<HomeContext>[] = [
  route({
    method: 'GET',
    path: '/v1/connectors',
    summary: 'List connectors and their parameters',
    tag: 'connectors',
    operation: 'self',
    fields: {},
    success: { status: 200, description: 'All connectors, by id', schema: connectorList },
    handle({ connectors }: HomeContext) {
      const items = [...connectors.values()].map(connectorView).sort((a, b) => (a.id < b.id ? -1 : 1));
      return { status: 200, body: { items } };
    },
  }),
];

function connectorView(connector: Connector): WireConnector {
  const { id, title, parameters = [], manualSteps = [] } = connector;
  return {
    id,
    title,
    ...factsOf(connector),
    parameters: parameters.map((parameter) => ({
      name: parameter.name,
      title: parameter.title,
      shape: parameter.shape,
      default: parameter.default ?? null,
      from: parameter.from ?? 'credential',
      values: parameter.values === undefined ? null : [...parameter.values],
    })),
    manual_steps: [...manualSteps],
  };
}

function factsOf<K extends keyof ConnectorByKind>(connector: ConnectorByKind[K] & { readonly kind: K }): KindFacts {
  return OF_KIND[connector.kind](connector);
}

type KindFacts = Pick<WireConnector, 'kind' | 'consent' | 'renewal' | 'lost_answer' | 'scopes' | 'rotation'>;

/** The fields that depend on the kind of connector. */
const OF_KIND: {
  readonly [K in keyof ConnectorByKind]: (connector: ConnectorByKind[K]) => KindFacts;
} = {
  oauth2: ({ kind, oauth2, consent }) => ({
    kind,
    consent: consent !== undefined,
    renewal: oauth2.renewal?.kind ?? 'refresh_token',
    lost_answer: lostAnswerView(oauth2.lostAnswer),
    scopes: Object.entries(consent?.scopeTitles ?? {}).map(([scope, text]) => ({ scope, title: text })),
    rotation: null,
  }),
  key: ({ key }) => ({
    kind: key.credential,
    consent: false,
    renewal: null,
    lost_answer: null,
    scopes: [],
    rotation: { strategy: key.strategy, admin: key.admin },
  }),
};

function lostAnswerView(lost: LostAnswer): WireConnector['lost_answer'] {
  return lost.kind === 'window' ? { window_seconds: lost.seconds } : lost.kind;
}
