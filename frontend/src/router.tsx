import type { QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, createRouter, lazyRouteComponent, redirect } from "@tanstack/react-router";
import { lazy } from "react";
import { refreshSession, sessionState } from "./api/session";
import { Missing, RouteError, RoutePending } from "./shell/fallbacks";
import { Root } from "./shell/Root";
import { Unreachable } from "./shell/Unreachable";

/** All routes in one place; every page is its own chunk. Filters, tabs and selection are search params. */

const rootRoute = createRootRouteWithContext<{ client: QueryClient }>()({ component: Root, notFoundComponent: Missing });

/** Keeps only strings (and numbers) that are really there, so that URLs stay short. */
function strings<K extends string>(search: Record<string, unknown>, names: readonly K[]): { [N in K]?: string } {
  const kept: { [N in K]?: string } = {};
  for (const name of names) {
    const value = search[name];
    if (typeof value === "string" && value !== "") kept[name] = value;
    else if (typeof value === "number" && Number.isFinite(value)) kept[name] = String(value);
  }
  return kept;
}

/** Whether someone is signed in. A server that does not say is no reason to send anybody to the login page. */
async function session(): Promise<"signed_in" | "signed_out" | "unknown"> {
  if (sessionState().status === "unknown") await refreshSession();
  return sessionState().status;
}

const loginRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/login",
  validateSearch: (search) => strings(search, ["next"]),
  component: lazyRouteComponent(() => import("./routes/login"), "LoginPage"),
});
const registerRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/register",
  validateSearch: (search) => strings(search, ["next"]),
  component: lazyRouteComponent(() => import("./routes/login"), "RegisterPage"),
});

const appRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: "app",
  beforeLoad: async ({ location }) => {
    const found = await session();
    if (found === "signed_out") throw redirect({ to: "/login", search: { next: location.href } });
    return { reachable: found === "signed_in" };
  },
  component: App,
});

const Shell = lazy(() => import("./shell/Shell").then((module) => ({ default: module.Shell })));

function App() {
  const { reachable } = appRoute.useRouteContext();
  return reachable ? <Shell /> : <Unreachable />;
}

const indexRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/inbox" });
  },
});
const inboxRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/inbox",
  validateSearch: (search) => strings(search, ["lane", "category", "project", "show"]),
  component: lazyRouteComponent(() => import("./routes/inbox"), "InboxPage"),
});
const approvalLinkRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/approvals/$approvalId",
  component: lazyRouteComponent(() => import("./routes/approval"), "ApprovalLinkPage"),
});
const projectsRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/projects",
  validateSearch: (search) => strings(search, ["new"]),
  component: lazyRouteComponent(() => import("./routes/projects"), "ProjectsPage"),
});

const allCostsRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/costs",
  component: lazyRouteComponent(() => import("./routes/allCosts"), "AllCostsPage"),
});

const modelsRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/models",
  component: lazyRouteComponent(() => import("./routes/models"), "ModelsPage"),
});

const jobsRoute = createRoute({
  getParentRoute: () => appRoute,
  path: "/jobs",
  validateSearch: (search) => strings(search, ["tab"]),
  component: lazyRouteComponent(() => import("./routes/jobs"), "JobsPage"),
});

const projectRoute = createRoute({ getParentRoute: () => appRoute, path: "/projects/$projectId", component: lazyRouteComponent(() => import("./routes/project"), "ProjectLayout") });
const boardRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/",
  validateSearch: (search) => strings(search, ["view", "sprint", "phase", "q", "new"]),
  component: lazyRouteComponent(() => import("./routes/board"), "BoardPage"),
});
const storyRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/stories/$storyId",
  validateSearch: (search) => strings(search, ["tab", "version"]),
  component: lazyRouteComponent(() => import("./routes/story"), "StoryPage"),
});
const approvalRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/approvals/$approvalId",
  component: lazyRouteComponent(() => import("./routes/approval"), "ApprovalPage"),
});
const runRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/runs/$runId",
  validateSearch: (search) => strings(search, ["step", "tab", "version"]),
  component: lazyRouteComponent(() => import("./routes/run"), "RunPage"),
});
const agentsRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/agents",
  validateSearch: (search) => strings(search, ["tab", "status", "type"]),
  component: lazyRouteComponent(() => import("./routes/agents"), "AgentsPage"),
});
const costsRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/costs",
  validateSearch: (search) => strings(search, ["by"]),
  component: lazyRouteComponent(() => import("./routes/costs"), "CostsPage"),
});
const gatewayRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/gateway",
  validateSearch: (search) => strings(search, ["tab", "model", "new"]),
  component: lazyRouteComponent(() => import("./routes/gateway"), "GatewayPage"),
});
const activityRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/activity",
  validateSearch: (search) => strings(search, ["actor", "family"]),
  component: lazyRouteComponent(() => import("./routes/activity"), "ActivityPage"),
});
const auditRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/audit",
  validateSearch: (search) => strings(search, ["type", "actor", "q"]),
  component: lazyRouteComponent(() => import("./routes/audit"), "AuditPage"),
});
const settingsRoute = createRoute({
  getParentRoute: () => projectRoute,
  path: "/settings",
  validateSearch: (search) => strings(search, ["tab"]),
  component: lazyRouteComponent(() => import("./routes/settings"), "SettingsPage"),
});

const routeTree = rootRoute.addChildren([
  loginRoute,
  registerRoute,
  appRoute.addChildren([
    indexRoute,
    inboxRoute,
    approvalLinkRoute,
    projectsRoute,
    jobsRoute,
    allCostsRoute,
    modelsRoute,
    projectRoute.addChildren([boardRoute, storyRoute, approvalRoute, runRoute, agentsRoute, costsRoute, gatewayRoute, activityRoute, auditRoute, settingsRoute]),
  ]),
]);

export function makeRouter(client: QueryClient) {
  return createRouter({
    routeTree,
    context: { client },
    defaultPreload: "intent",
    defaultPreloadStaleTime: 0,
    defaultPendingMs: 200,
    defaultPendingComponent: RoutePending,
    defaultErrorComponent: RouteError,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
