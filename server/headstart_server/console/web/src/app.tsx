import { useEffect } from "preact/hooks";

import { watchJobs } from "./jobs";
import { type Place, usePlace } from "./router";
import { may, openSession, session } from "./session";
import { useStore } from "./store";
import { Button, Empty, Skeleton } from "./ui/basics";
import { Shell } from "./ui/shell";
import { Toasts } from "./ui/toasts";
import { AccessPage, TokenForm } from "./views/access";
import { HomePage } from "./views/home";
import { JobsPage } from "./views/jobs";
import { ModelPage } from "./views/model";
import { NewPage } from "./views/new";

export function App() {
  const { state, caller, error } = useStore(session);
  const place = usePlace();
  const follows = state === "ready" && may(caller, "RIGHT_TRAIN");
  useEffect(() => {
    if (follows) return watchJobs();
  }, [follows, caller]);
  if (state === "loading")
    return (
      <main class="gate" aria-busy="true">
        <Skeleton />
      </main>
    );
  return (
    <>
      {state === "ready" ? (
        <Shell place={place}>
          <Page place={place} />
        </Shell>
      ) : (
        <main class="gate">
          {state === "locked" ? <TokenForm /> : <Lost message={error} />}
        </main>
      )}
      <Toasts />
    </>
  );
}

function Lost({ message }: { message?: string }) {
  return (
    <Empty isPage icon="warn" title="The console cannot start">
      <p>{message}</p>
      <p>
        <Button onClick={() => void openSession()}>Try again</Button>
      </p>
    </Empty>
  );
}

/** A page that its links do not lead to, because the token does not allow it. */
const Refused = () => (
  <Empty isPage icon="key" title="This token does not allow the page">
    <p>
      <a href="/access">Access</a> lists what it allows.
    </p>
  </Empty>
);

function Page({ place }: { place: Place }) {
  const [root] = place.path;
  if ((root === "new" || root === "jobs") && !may(session.value.caller, "RIGHT_TRAIN")) return <Refused />;
  if (root === undefined || (root === "models" && place.path.length === 1)) return <HomePage />;
  if (root === "models") return <ModelPage key={place.path[1]} place={place} />;
  if (root === "jobs") return <JobsPage />;
  if (root === "new") return <NewPage place={place} />;
  if (root === "access") return <AccessPage />;
  return (
    <Empty isPage icon="search" title="No such page">
      <p>
        <a href="/">Go to the models</a>
      </p>
    </Empty>
  );
}
