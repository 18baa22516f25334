// An OpenID Connect issuer (oidc-provider) that signs anybody in: `node issuer.mjs` with PORT,
// DASHBOARD (an origin), SECRET (signs access tokens), and LIFE (seconds of a token).
import { createSecretKey } from 'node:crypto';
import Provider from 'oidc-provider';

const { PORT, DASHBOARD, SECRET, LIFE } = process.env;
const life = Number(LIFE);
const client = (id, ...grants) => ({
  client_id: id,
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', ...grants],
  response_types: ['code'],
  redirect_uris: [`${DASHBOARD}/dashboard`],
  post_logout_redirect_uris: [`${DASHBOARD}/dashboard`],
});

const provider = new Provider(`http://localhost:${PORT}`, {
  clients: [client('renews', 'refresh_token'), client('redirects')],
  clientBasedCORS: (_, origin) => origin === DASHBOARD,
  cookies: { keys: ['a key of the tests'] },
  claims: { openid: ['sub', 'headcount', 'name'] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: `Ms ${id}`, headcount: 'admin' }) }),
  extraTokenClaims: (_, token) => ({ name: `Ms ${token.accountId}`, headcount: 'admin' }),
  issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
  features: {
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, audience) => ({
        scope: '',
        audience,
        accessTokenTTL: life,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'HS256', key: createSecretKey(Buffer.from(SECRET)) } },
      }),
    },
  },
  // What a person would be asked: whether the dashboard may know who they are.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid');
    for (const resource of [ctx.oidc.params.resource ?? []].flat()) grant.addResourceScope(resource, '');
    await grant.save();
    return grant;
  },
});

provider.listen(PORT, 'localhost', () => console.log('ready'));
