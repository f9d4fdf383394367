import { useQuery } from "@tanstack/react-query";
import { Outlet, useLocation, useNavigate, useParams, useRouter } from "@tanstack/react-router";
import { Menu as MenuIcon, Search } from "lucide-react";
import { useEffect, useRef, useState, useSyncExternalStore, type RefObject } from "react";
import * as queries from "../api/queries";
import { sessionState, subscribeSession } from "../api/session";
import { t } from "../i18n/en";
import { useShortcuts } from "../keyboard";
import { nextTheme, setTheme, useTheme } from "../theme";
import { IconButton, Kbd } from "../ui/button";
import { Dot } from "../ui/status";
import { Breadcrumbs, titleOf, useCrumbs } from "./Breadcrumbs";
import { Palette } from "./Palette";
import { Drawer, Rail, type ProjectPath } from "./Rail";
import { ShortcutHelp } from "./ShortcutHelp";
import { useLiveStatus, useLiveStream } from "./live";
import { rememberProject, useCurrentProject } from "./project";

const RAIL_KEY = "syndarix-rail";

function storedCollapsed(): boolean {
  try {
    return localStorage.getItem(RAIL_KEY) === "collapsed";
  } catch {
    return false;
  }
}

export function Shell() {
  const session = useSyncExternalStore(subscribeSession, sessionState);
  const router = useRouter();
  useEffect(() => {
    // The place to come back to is read once: the address changes as soon as the way out begins.
    if (session.status === "signed_out") void router.navigate({ to: "/login", search: { next: router.state.location.href } });
  }, [session.status, router]);
  if (session.status !== "signed_in") return null;
  return <SignedIn />;
}

function SignedIn() {
  useLiveStream();
  const [collapsed, setCollapsed] = useState(storedCollapsed);
  const [drawer, setDrawer] = useState(false);
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  const main = useRef<HTMLElement>(null);
  const theme = useTheme();
  const { projectId } = useParams({ strict: false });
  const inbox = useQuery(queries.approvals());
  useEffect(() => {
    if (projectId) rememberProject(projectId);
  }, [projectId]);
  const unresolved = inbox.data?.unresolved ?? 0;
  const crumbs = useCrumbs();
  const title = titleOf(crumbs, unresolved);
  useEffect(() => {
    document.title = title;
  }, [title]);
  useArrival(main);

  const toggleRail = () => {
    setCollapsed(!collapsed);
    try {
      localStorage.setItem(RAIL_KEY, collapsed ? "open" : "collapsed");
    } catch {
      // The choice then lasts for this page.
    }
  };
  useChords();
  useShortcuts([
    { keys: "mod+k", label: t.keys.palette, group: t.groups.general, run: () => setPalette(true) },
    { keys: "?", label: t.keys.help, group: t.groups.general, run: () => setHelp(true) },
    { keys: "[", label: t.keys.rail, group: t.groups.general, run: toggleRail },
    { keys: "shift+t", label: t.keys.theme, group: t.groups.general, run: () => setTheme(nextTheme(theme)) },
  ]);

  return (
    <div className="flex h-dvh">
      <a href="#content" onClick={(event) => { event.preventDefault(); main.current?.focus(); }} className="sr-only z-50 rounded-md bg-accent-fill px-3 py-2 text-white focus:not-sr-only focus:absolute focus:top-2 focus:left-2">
        {t.common.skip}
      </a>
      <Rail collapsed={collapsed} unresolved={unresolved} onToggle={toggleRail} onHelp={() => setHelp(true)} />
      <Drawer open={drawer} onClose={() => setDrawer(false)} unresolved={unresolved} onHelp={() => setHelp(true)} />
      <p role="status" className="sr-only">{titleOf(crumbs, 0)}</p>
      <div className="flex min-w-0 flex-1 flex-col">
        <header className="flex h-11 shrink-0 items-center gap-2 border-b border-line bg-panel px-3">
          <IconButton label={t.nav.openMenu} className="md:hidden" onClick={() => setDrawer(true)}><MenuIcon size={17} aria-hidden="true" /></IconButton>
          <Breadcrumbs crumbs={crumbs} />
          <div className="ml-auto flex items-center gap-1.5">
            <LiveIndicator />
            <button type="button" onClick={() => setPalette(true)} className="flex h-7 items-center gap-2 rounded-md border border-line-strong px-2 text-soft hover:bg-hover">
              <Search size={14} aria-hidden="true" />
              <span className="max-lg:sr-only">{t.common.search}</span>
              <Kbd keys="Ctrl K" />
            </button>
          </div>
        </header>
        <main id="content" ref={main} tabIndex={-1} className="relative min-h-0 flex-1 overflow-y-auto outline-none">
          <Outlet />
        </main>
      </div>
      <Palette open={palette} onClose={() => setPalette(false)} onHelp={() => setHelp(true)} />
      <ShortcutHelp open={help} onClose={() => setHelp(false)} />
    </div>
  );
}

/**
 * A new page begins at its top, and the focus goes with it: otherwise it stays on a link of the page that
 * is gone. Where the page itself took the focus, it keeps it.
 */
function useArrival(main: RefObject<HTMLElement | null>) {
  const router = useRouter();
  const { pathname } = useLocation();
  const before = useRef(pathname);
  useEffect(() => {
    if (before.current === pathname) return;
    before.current = pathname;
    main.current?.scrollTo(0, 0);
  }, [pathname, main]);
  // The address is new before the page is: only when that is drawn, the link that was followed is gone.
  useEffect(() => router.subscribe("onRendered", ({ pathChanged }) => {
    if (pathChanged && !main.current?.contains(document.activeElement)) main.current?.focus({ preventScroll: true });
  }), [router, main]);
}

function useChords() {
  const navigate = useNavigate();
  const project = useCurrentProject();
  const group = t.groups.navigation;
  const inProject = (keys: string, label: string, to: ProjectPath) => ({
    keys, label, group, run: () => void (project && navigate({ to, params: { projectId: project.id } })),
  });
  useShortcuts([
    { keys: "g i", label: t.nav.inbox, group, run: () => void navigate({ to: "/inbox" }) },
    { keys: "g p", label: t.nav.projects, group, run: () => void navigate({ to: "/projects" }) },
    { keys: "g j", label: t.nav.jobs, group, run: () => void navigate({ to: "/jobs" }) },
    inProject("g b", t.nav.board, "/projects/$projectId"),
    inProject("g a", t.nav.agents, "/projects/$projectId/agents"),
    inProject("g c", t.nav.costs, "/projects/$projectId/costs"),
    inProject("g m", t.nav.gateway, "/projects/$projectId/gateway"),
    inProject("g v", t.nav.activity, "/projects/$projectId/activity"),
    inProject("g u", t.nav.audit, "/projects/$projectId/audit"),
    inProject("g s", t.nav.settings, "/projects/$projectId/settings"),
  ]);
}

function LiveIndicator() {
  const status = useLiveStatus();
  return (
    <span role="status" className="flex items-center gap-1.5 text-xs text-soft" data-live={status}>
      <Dot tone={status === "open" ? "ok" : "warn"} live={status !== "open"} />
      <span className={status === "open" ? "max-lg:sr-only" : ""}>{t.nav.live[status]}</span>
    </span>
  );
}
