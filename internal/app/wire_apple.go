package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/micromdm/nanomdm/service"
	"github.com/micromdm/nanomdm/service/webhook"

	"github.com/muster-mdm/muster/internal/apple"
	"github.com/muster-mdm/muster/internal/applenet"
	"github.com/muster-mdm/muster/internal/codec/cms"
	"github.com/muster-mdm/muster/internal/codec/plist"
	"github.com/muster-mdm/muster/internal/command"
	"github.com/muster-mdm/muster/internal/enroll"
	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/guardian"
	"github.com/muster-mdm/muster/internal/hostaction"
	"github.com/muster-mdm/muster/internal/inventory"
	"github.com/muster-mdm/muster/internal/jobs"
	"github.com/muster-mdm/muster/internal/pki"
	"github.com/muster-mdm/muster/internal/profile"
	"github.com/muster-mdm/muster/internal/scep"
	"github.com/muster-mdm/muster/internal/settings"
	"github.com/muster-mdm/muster/internal/store"
)

// Sizes and times of the Apple side.
const (
	certificateCache = 30_000 // device certificates, some 700 bytes each
	pushEvery        = 2 * time.Second
	pushTimeout      = 5 * time.Minute
	webhookTimeout   = 10 * time.Second
	refetchEvery     = 5 * time.Second
	renewEvery       = 10 * time.Second
	refetchTimeout   = 5 * time.Minute
)

// enrollments is what the API calls enrollments: profiles and turning off.
type enrollments struct {
	*enroll.Issuer
	*enroll.Lifecycle
}

// contents fills in what commands lack when they are handed out.
type contents struct {
	*profile.Delivery
	actions  *hostaction.Service
	envelope *command.Envelope
}

// Command implements apple.Contents.
func (c contents) Command(ctx context.Context, next *fleet.NextCommand) ([]byte, error) {
	switch next.Purpose {
	case fleet.CommandAction:
		return c.actions.Fill(ctx, next)
	case fleet.CommandCustom:
		return c.envelope.Fill(ctx, next)
	default:
		return c.Delivery.Command(ctx, next.HostID, next.Body)
	}
}

type appleParts struct {
	*desired
	actions     *hostaction.Service
	envelope    *command.Envelope
	mdm         http.Handler
	scep        http.Handler
	enrollments enrollments
	push        *pki.Push
	ade         *adeParts
	vitals      *inventory.Vitals
	guardian    *guardian.Service
	renewer     *enroll.Renewer
	overTheAir  *enroll.OverTheAir
	accounts    *enroll.Accounts
}

// expecting tells the endpoint of devices which certificates are issued.
type expecting struct {
	*pki.Authority
	verifier *cms.Verifier
}

func (e expecting) Issue(ctx context.Context, req fleet.CertificateRequest) (*x509.Certificate, error) {
	cert, err := e.Authority.Issue(ctx, req)
	if err == nil {
		e.verifier.Expect(cert)
	}
	return cert, err
}

func (a *App) wireApple(ctx context.Context, org *settings.Service) (*appleParts, error) {
	secrets, channels, queue := store.NewSecrets(a.db), store.NewEnrollments(a.db), store.NewCommands(a.db)
	authority, err := pki.Open(ctx, secrets, a.vault, store.NewIdentities(a.db), a.clock, a.caKey)
	if err != nil {
		return nil, err
	}
	verifier := cms.NewVerifier(certificateCache)
	verifier.SetAuthorities([]*x509.Certificate{authority.Certificate()})
	var signer pki.CSRSigner
	if url := a.config.Apple.PushSignerURL; url != "" {
		signer = applenet.NewSigner(url)
	}
	push := pki.NewPush(secrets, a.vault, channels, signer, a.clock)
	lifecycle := enroll.NewLifecycle(channels, secrets, a.vault, a.clock, a.pushes)
	issuer := enroll.NewIssuer(store.NewEnrollmentProfiles(a.db), authority, org, push)

	items, err := a.wireDesired(ctx, authority.Certificate().Raw)
	if err != nil {
		return nil, err
	}
	automatic, err := a.wireADE(org, issuer, items.teams)
	if err != nil {
		return nil, err
	}
	actions := a.wireActions(org, lifecycle)
	envelope := command.NewEnvelope(secrets, a.vault)
	a.sweep = append(a.sweep, func(ctx context.Context, _ time.Time) error { return queue.SweepSecrets(ctx) })
	filled := contents{items.delivery, actions, envelope}
	decide := func(t fleet.CommandTarget, r fleet.CommandReport, answer plist.Dict) fleet.ReportOutcome {
		if t.Command.Purpose == fleet.CommandAction {
			return actions.Outcome(t, r, answer)
		}
		return items.decide(t, r, answer)
	}
	declarative := apple.NewDeclarative(store.NewDDM(a.db), items.judge, filled, a.clock)
	core := apple.NewService(lifecycle, queue, decide, declarative, filled, items.reconciler.Refresh, a.clock)
	o := apple.Options{Core: core, Callers: channels, Seen: a.seen, Verifier: verifier,
		CertHeader: a.config.Proxy.ClientCertHeader, MaxBody: a.config.Limits.DeviceBodyBytes, Clock: a.clock}
	if a.config.Webhook.URL != "" {
		o.Service, o.EveryPoll = a.observed(core), true
	}
	roots, err := rootsFrom("apple.apns_root_ca_file", a.config.Apple.APNSRootCAFile)
	if err != nil {
		return nil, err
	}
	sender := applenet.NewAPNs(a.config.Apple.APNSURL, roots, a.config.Apple.PushWorkers, push, a.clock)
	a.closers = append(a.closers, sender.Close)
	pusher := command.NewPusher(store.NewPushes(a.db), queue, sender, a.clock, a.log)
	a.Jobs = append(a.Jobs, jobs.Job{Name: "apns_pusher", Every: pushEvery, Timeout: pushTimeout, Bell: a.pushes, Quiet: true, Run: pusher.Round})
	refetcher := inventory.NewRefetcher(store.NewRefetches(a.db), a.config.Refetch.Interval, a.clock, a.pushes)
	if !a.config.Refetch.Paused {
		a.Jobs = append(a.Jobs, jobs.Job{Name: "refetcher", Every: refetchEvery, Timeout: refetchTimeout, Quiet: true, Run: refetcher.Round})
	}
	renewer := enroll.NewRenewer(store.NewRenewals(a.db), authority, org, a.vault, a.config.Renewal.Window, a.config.Renewal.PerHour, a.clock, a.pushes)
	if !a.config.Renewal.Paused {
		a.Jobs = append(a.Jobs, jobs.Job{Name: "identity_renewer", Every: renewEvery, Quiet: true, Run: renewer.Round})
	}
	watch := a.wireGuardian(authority, push)
	return &appleParts{
		desired:     items,
		actions:     actions,
		envelope:    envelope,
		guardian:    watch,
		renewer:     renewer,
		vitals:      inventory.NewVitals(refetcher, store.NewSoftware(a.db), store.NewCertificates(a.db)),
		mdm:         apple.New(o),
		scep:        scep.New(expecting{authority, verifier}, a.log, a.clock),
		enrollments: enrollments{issuer, lifecycle},
		push:        push,
		ade:         automatic,
		accounts:    enroll.NewAccounts(issuer, a.accountTokens(), authority, automatic.trusted, a.clock),
		overTheAir:  enroll.NewOverTheAir(issuer, items.enrollSecrets, authority, automatic.trusted),
	}, nil
}

// observed shows messages to a webhook of MicroMDM's shape.
func (a *App) observed(core service.CheckinAndCommandService) service.CheckinAndCommandService {
	options := []webhook.Option{webhook.WithClient(&http.Client{Timeout: webhookTimeout})}
	if secret := a.config.Webhook.Secret; secret != "" {
		options = append(options, webhook.WithHMACSecret([]byte(secret)))
	}
	tee := apple.NewTee(core, webhook.New(a.config.Webhook.URL, options...), a.log)
	a.closers = append(a.closers, tee.Wait)
	return tee
}

// rootsFrom reads the certificates of a setting to trust; nil: the system's.
func rootsFrom(setting, path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no PEM certificate", setting, path)
	}
	return pool, nil
}
