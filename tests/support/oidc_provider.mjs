// A real OpenID provider (npm's oidc-provider) with one client; its development pages let anybody sign in by any name.
// node oidc_provider.mjs PORT REDIRECT_URI SIGNED_OUT_URI GROUPS
import { Provider } from 'oidc-provider';

const [port, redirect, signedOut, groups] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'gateway',
    client_secret: 'a secret of the client: 100%',
    redirect_uris: [redirect],
    post_logout_redirect_uris: [signedOut],
    grant_types: ['authorization_code', 'client_credentials'],
  }],
  claims: { openid: ['sub'], profile: ['groups', 'preferred_username'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['only for tests'] },
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: `${id}@example`, groups: groups.split(',') }) }),
  pkce: { required: () => true },
  extraTokenClaims: () => ({ groups: ['machines'] }),
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({ scope: '', audience: 'gateway', accessTokenFormat: 'jwt' }),
    },
  },
});
provider.listen(port, '127.0.0.1', () => console.log('listening'));
