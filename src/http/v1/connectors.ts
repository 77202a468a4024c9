// The connectors of this installation on the wire: what each can do and what it wants to know.
import type { Connector, LostAnswer } from '../../../rotation/connector.ts';
import type { HomeContext } from '../context.ts';
import { type Route, route } from '../route.ts';
import { connectorList, type WireConnector } from './wire-connections.ts';

export const connectorRoutes: readonly Route<HomeContext>[] = [
  route({
    method: 'GET',
    path: '/v1/connectors',
    summary: 'The connectors there are, with what each wants to know',
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
  const { id, title, kind, oauth2, consent, parameters = [], manualSteps = [] } = connector;
  return {
    id,
    title,
    kind,
    consent: oauth2 !== undefined && consent !== undefined,
    renewal: oauth2 === undefined ? null : (oauth2.renewal?.kind ?? 'refresh_token'),
    lost_answer: oauth2 === undefined ? null : lostAnswerView(oauth2.lostAnswer),
    parameters: parameters.map((parameter) => ({
      name: parameter.name,
      title: parameter.title,
      shape: parameter.shape,
      default: parameter.default ?? null,
      from: parameter.from ?? 'credential',
      values: parameter.values === undefined ? null : [...parameter.values],
    })),
    scopes: Object.entries(consent?.scopeTitles ?? {}).map(([scope, text]) => ({ scope, title: text })),
    manual_steps: [...manualSteps],
  };
}

function lostAnswerView(lost: LostAnswer): WireConnector['lost_answer'] {
  return lost.kind === 'window' ? { window_seconds: lost.seconds } : lost.kind;
}
