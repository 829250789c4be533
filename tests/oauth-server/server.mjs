// An authorization server on loopback: oidc-provider with two clients, whose only user agrees to everything.
//
// Prints its port when it listens. The client `short` gets access tokens that expire within the minute in which
// popfetch does not use them any more, so that each of its runs refreshes. Refresh tokens rotate, and one that is used
// twice ends the grant. The user `mallory` refuses.

import http from 'node:http';
import Provider from 'oidc-provider';

const client = (client_id, rest) => ({
  client_id,
  application_type: 'native',
  redirect_uris: ['http://127.0.0.1'],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  scope: 'openid offline_access mail',
  ...rest,
});

const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [
      client('popfetch', { token_endpoint_auth_method: 'none' }),
      client('short', { token_endpoint_auth_method: 'client_secret_post', client_secret: 'kanarinac-klijenta' }),
    ],
    scopes: ['openid', 'offline_access', 'mail'],
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      introspection: { enabled: true },
    },
    rotateRefreshToken: true,
    ttl: {
      AccessToken: (ctx, token, client) => (client.clientId === 'short' ? 30 : 3600),
      DeviceCode: 600,
      Grant: 86400,
      Interaction: 600,
      RefreshToken: 86400,
      Session: 86400,
    },
    cookies: { keys: ['of a test'] },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  });

  const agree = async (request, response) => {
    const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
    if (params.login_hint === 'mallory') {
      const error_description = 'the user said no';
      return provider.interactionFinished(request, response, { error: 'access_denied', error_description });
    }
    if (prompt.name === 'login') {
      return provider.interactionFinished(request, response, { login: { accountId: 'alice' } });
    }
    const identity = { accountId: session.accountId, clientId: params.client_id };
    const grant = (grantId && (await provider.Grant.find(grantId))) || new provider.Grant(identity);
    grant.addOIDCScope(params.scope);
    const consent = { grantId: await grant.save() };
    return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
  };

  const protocol = provider.callback();
  server.on('request', (request, response) => {
    if (!request.url.startsWith('/interaction/')) return protocol(request, response);
    return agree(request, response).catch((error) => {
      console.error(error);
      response.writeHead(500).end();
    });
  });
  console.log(port);
});
