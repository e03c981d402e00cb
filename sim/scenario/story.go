package scenario

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apiv1 "github.com/muster-mdm/muster/api/v1"
	"github.com/muster-mdm/muster/client"
	"github.com/muster-mdm/muster/sim/appledev"
	"github.com/muster-mdm/muster/sim/appleserver"
)

// Times of a story.
const (
	stepTimeout  = 3 * time.Minute
	pollInterval = 100 * time.Millisecond
	// enrollWorkers enroll at once.
	enrollWorkers = 8
)

// Topic is the push topic of simulated fleets.
const Topic = "com.apple.mgmt.External.5a17d2b0-0000-4000-8000-6d7573746572"

// Options of a story.
type Options struct {
	Client *client.Client // not logged in yet
	Server string         // base URL
	Push   *appleserver.Push
	// Apple is the device enrollment service; nil: there is none.
	Apple    *appleserver.Enrollment
	Devices  int
	Seed     uint64
	Email    string
	Password string
	// Progress is told what happens; it must be safe for concurrent use.
	Progress func(step string, done, failed, total int)
	// OnEvent is told what devices do; nil: nobody.
	OnEvent func(appledev.Event)
	// Restart kills the server and starts it again; nil: it cannot.
	Restart func(ctx context.Context) error
	// Kills is how often a scenario that can be interrupted is.
	Kills int
	// Mix of the devices; the zero value is a third of each kind.
	Mix appledev.Mix
	// KeyPool is how many RSA keys the devices share; 0: each makes its own.
	KeyPool int
}

// Step is one checked step.
type Step struct {
	Name    string  `json:"name"`
	OK      bool    `json:"ok"`
	Detail  string  `json:"detail"`
	Seconds float64 `json:"seconds"`
}

// Story is a play under way.
type Story struct {
	o     Options
	Fleet *appledev.Population
	// Token is the admin's, and EnrollURL where profiles are downloaded, once
	// the steps that make them are done.
	Token     string
	EnrollURL string
	Steps     []Step

	// ServerToken is that of the device enrollment service, once connected.
	ServerToken apiv1.ServerToken

	devices *http.Client
	device  appledev.Options     // of every device
	boxes   []appleserver.Bought // not switched on yet

	mu          sync.Mutex // guards what follows
	appleServer string     // at Apple
	bought      []*appledev.Device
	alive       context.Context // while it lasts, devices run
	timeout     time.Duration   // of a step; 0: stepTimeout
	wg          sync.WaitGroup
}

// New prepares a story.
func New(o Options) (*Story, error) {
	if o.Progress == nil {
		o.Progress = func(string, int, int, int) {}
	}
	devices := appledev.NewClient(nil, appledev.DefaultConnections)
	options := appledev.Options{Client: devices, Wakes: o.Push, OnEvent: o.OnEvent}
	if o.KeyPool > 0 {
		pool, err := appledev.NewKeyPool(o.KeyPool, 2048)
		if err != nil {
			return nil, err
		}
		options.Keys = pool
	}
	options.Library = new(appledev.Library)
	return &Story{o: o, devices: devices, device: options, Fleet: appledev.NewPopulation(o.Seed, o.Devices, o.Mix, options)}, nil
}

// step runs and records one step.
func (s *Story) step(ctx context.Context, name string, run func(context.Context) (string, error)) error {
	timeout := s.timeout
	if timeout == 0 {
		timeout = stepTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s.o.Progress(name, 0, 0, 0)
	start := time.Now()
	detail, err := run(ctx)
	if err != nil {
		detail = strings.TrimSpace(detail + " " + err.Error())
	}
	s.Steps = append(s.Steps, Step{Name: name, OK: err == nil, Detail: detail, Seconds: time.Since(start).Seconds()})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Prepare sets the server up and enrolls the fleet: what `muster demo` does
// before it hands over to a person.
func (s *Story) Prepare(ctx context.Context) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	if err := s.step(ctx, "create an enrollment", s.createEnrollment); err != nil {
		return err
	}
	return s.step(ctx, fmt.Sprintf("enroll %d devices", s.o.Devices), s.enroll)
}

// Open sets the server up for devices to come.
func (s *Story) Open(ctx context.Context) error {
	if err := s.step(ctx, "set up the server and its first admin", s.setUp); err != nil {
		return err
	}
	return s.step(ctx, "upload the push certificate", s.uploadPush)
}

func (s *Story) setUp(ctx context.Context) (string, error) {
	res, err := s.o.Client.Setup(ctx, apiv1.SetupRequest{
		Admin:     apiv1.SetupAdmin{Email: s.o.Email, Name: "Demo admin", Password: s.o.Password, PasswordConfirmation: s.o.Password},
		OrgInfo:   apiv1.SetupOrg{OrgName: "Demo"},
		ServerURL: s.o.Server,
	})
	if err != nil {
		if client.StatusOf(err) != http.StatusConflict {
			return "", err
		}
		// A data directory of an earlier demo: log in instead.
		login, err := s.o.Client.Login(ctx, s.o.Email, s.o.Password)
		if err != nil {
			return "", fmt.Errorf("the server was set up before, and the demo's password does not fit: %w", err)
		}
		s.Token = login.Token
		s.o.Client.SetToken(s.Token)
		return "was set up before; logged in as " + s.o.Email, nil
	}
	s.Token = res.Token
	s.o.Client.SetToken(s.Token)
	return "admin " + s.o.Email, nil
}

func (s *Story) uploadPush(ctx context.Context) (string, error) {
	cert, key, err := s.o.Push.NewPushCertificate(Topic)
	if err != nil {
		return "", err
	}
	got, err := s.o.Client.UploadPushCertificate(ctx, client.PushUpload{Certificate: cert, PrivateKey: key})
	if err != nil {
		return "", err
	}
	return "expires " + got.RenewDate.Format(time.RFC3339), nil
}

func (s *Story) createEnrollment(ctx context.Context) (string, error) {
	const name = "Demo fleet"
	list, err := s.o.Client.Enrollments(ctx)
	if err != nil {
		return "", err
	}
	for _, e := range list {
		if e.Name == name {
			s.EnrollURL = e.EnrollURL
			return "kept " + name, nil
		}
	}
	e, err := s.o.Client.CreateEnrollment(ctx, name, "manual")
	if err != nil {
		return "", err
	}
	s.EnrollURL = e.EnrollURL
	return name, nil
}

func (s *Story) enroll(ctx context.Context) (string, error) {
	url := func(*appledev.Device) string { return s.EnrollURL }
	progress := func(done, failed, total int) { s.o.Progress("enroll", done, failed, total) }
	if err := s.Fleet.EnrollAll(ctx, url, enrollWorkers, progress); err != nil {
		return "", err
	}
	count, err := s.o.Client.CountHosts(ctx, client.HostFilter{MDMEnrollmentStatus: "enrolled"})
	if err != nil {
		return "", err
	}
	if count < s.o.Devices {
		return "", fmt.Errorf("the server counts %d enrolled hosts, not %d", count, s.o.Devices)
	}
	return fmt.Sprintf("%d of %d enrolled", s.o.Devices, s.o.Devices), nil
}

// Check verifies, through the public API, what a person would look at.
func (s *Story) Check(ctx context.Context) error {
	return errors.Join(
		s.step(ctx, "every device shows as a host of its platform", s.checkHosts),
		s.step(ctx, "first vitals arrive, and leave no command behind", s.checkVitals),
		s.step(ctx, "every device gets what its team and labels say, and reports it", s.checkDesired),
		s.step(ctx, "secrets are filled in on the way to the device", s.checkDevices),
		s.step(ctx, "the item that fails is explained", s.checkExplain),
		s.step(ctx, "a plan tells what a change would do, and changes nothing", s.checkPlan),
		s.step(ctx, "a host's history can be read", s.checkHistory),
		s.step(ctx, "a command reaches a sleeping device by push", s.checkCommand),
		s.step(ctx, "a command a device does not know is reported as its error", s.checkError),
		s.step(ctx, "a device that says NotNow gets the command again", s.checkNotNow),
		s.step(ctx, "a command for nobody, or for a stranger, is refused", s.checkRefusals),
		s.step(ctx, "a bootstrap token is escrowed for every Mac", s.checkBootstrap),
		s.step(ctx, "devices tell which software they have", s.checkInventory),
		s.step(ctx, "the certificate of a device is renewed without anybody noticing", s.checkRenewal),
		s.step(ctx, "a lost Mac is locked, and opened with the PIN that the server keeps", s.checkLock),
		s.step(ctx, "a device that leaves is shown as off and gets nothing more", s.checkLeave),
		s.step(ctx, "a wiped device comes back as the same host", s.checkReturn),
	)
}

// until repeats check until it is content or the step's time is over.
func until(ctx context.Context, check func() (done bool, err error)) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		done, err := check()
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("it did not happen in time")
		case <-ticker.C:
		}
	}
}

// hosts returns the server's hosts of this fleet, by serial.
func (s *Story) hosts(ctx context.Context) (map[string]apiv1.Host, error) {
	out := map[string]apiv1.Host{}
	err := s.o.Client.AllHosts(ctx, client.HostFilter{}, func(h apiv1.Host) error {
		out[h.HardwareSerial] = h
		return nil
	})
	return out, err
}

var platforms = map[appledev.Family]string{appledev.IPhone: "ios", appledev.IPad: "ipados", appledev.Mac: "darwin"}

func (s *Story) checkHosts(ctx context.Context) (string, error) {
	hosts, err := s.hosts(ctx)
	if err != nil {
		return "", err
	}
	counts := map[string]int{}
	for _, d := range s.Fleet.Devices {
		spec := d.Spec()
		h, ok := hosts[spec.Serial]
		want := platforms[spec.Model.Family]
		switch {
		case !ok:
			return "", fmt.Errorf("there is no host with serial %s", spec.Serial)
		case h.Platform != want:
			return "", fmt.Errorf("host %s (%s) has platform %q, not %q", spec.Serial, spec.Model.Product, h.Platform, want)
		case h.MDM.EnrollmentStatus == nil || *h.MDM.EnrollmentStatus != "On (manual)":
			return "", fmt.Errorf("host %s is not shown as enrolled", spec.Serial)
		}
		counts[want]++
	}
	return fmt.Sprintf("%d Macs, %d iPhones, %d iPads", counts["darwin"], counts["ios"], counts["ipados"]), nil
}

func (s *Story) checkVitals(ctx context.Context) (string, error) {
	err := until(ctx, func() (bool, error) {
		hosts, err := s.hosts(ctx)
		if err != nil {
			return false, err
		}
		for _, d := range s.Fleet.Devices {
			if h := hosts[d.Spec().Serial]; !strings.HasSuffix(h.OSVersion, " "+d.Spec().Model.OSVersion) || h.GigsTotalDiskSpace <= 0 {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return "", err
	}
	list, err := s.o.Client.Commands(ctx, client.CommandFilter{RequestType: "DeviceInformation"}, 0, 1)
	if err != nil {
		return "", err
	}
	if len(list.Results) > 0 {
		return "", errors.New("the commands that asked for vitals are listed")
	}
	return "OS version and storage of every device are known", nil
}

// one returns the n-th device of a family.
func (s *Story) one(family appledev.Family, n int) (*appledev.Device, error) {
	for _, d := range s.Fleet.Devices {
		if d.Spec().Model.Family != family || !d.Enrolled() {
			continue
		}
		if n == 0 {
			return d, nil
		}
		n--
	}
	return nil, fmt.Errorf("the fleet has no enrolled %s for this step", family)
}

// run sends a command to one device and waits for its answer.
func (s *Story) run(ctx context.Context, d *appledev.Device, body string) (apiv1.CommandResult, error) {
	sent, err := s.o.Client.RunCommand(ctx, []byte(body), []string{d.Spec().UDID})
	if err != nil {
		return apiv1.CommandResult{}, err
	}
	var last apiv1.CommandResult
	err = until(ctx, func() (bool, error) {
		list, err := s.o.Client.CommandResults(ctx, sent.CommandUUID, "")
		if err != nil || len(list) == 0 {
			return false, err
		}
		last = list[0]
		return last.Status != "Pending" && last.Status != "NotNow", nil
	})
	if err != nil {
		return last, fmt.Errorf("command %s is still %s: %w", sent.CommandUUID, last.Status, err)
	}
	return last, nil
}

// answer decodes what the device answered.
func answer(r apiv1.CommandResult) string {
	if r.Result == nil {
		return ""
	}
	raw, err := base64.StdEncoding.DecodeString(*r.Result)
	if err != nil {
		return ""
	}
	return string(raw)
}

// Command builds a command without a CommandUUID: the server gives it one.
func Command(requestType, fields string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict><key>Command</key><dict><key>RequestType</key><string>` + requestType + `</string>` + fields + `</dict></dict></plist>`
}

func (s *Story) checkCommand(ctx context.Context) (string, error) {
	d, err := s.one(appledev.IPad, 0)
	if err != nil {
		return "", err
	}
	pushes := s.o.Push.Accepted()
	r, err := s.run(ctx, d, Command("DeviceInformation", "<key>Queries</key><array><string>SerialNumber</string></array>"))
	if err != nil {
		return "", err
	}
	switch {
	case r.Status != "Acknowledged":
		return "", fmt.Errorf("the device answered %s", r.Status)
	case !strings.Contains(answer(r), d.Spec().Serial):
		return "", errors.New("the answer does not hold the device's serial")
	case s.o.Push.Accepted() == pushes:
		return "", errors.New("no push was sent")
	}
	return fmt.Sprintf("%s answered with its serial", d.Spec().Serial), nil
}

func (s *Story) checkError(ctx context.Context) (string, error) {
	d, err := s.one(appledev.IPhone, 0)
	if err != nil {
		return "", err
	}
	r, err := s.run(ctx, d, Command("MakeCoffee", ""))
	if err != nil {
		return "", err
	}
	if r.Status != "Error" || !strings.Contains(answer(r), "ErrorChain") {
		return "", fmt.Errorf("the device answered %s", r.Status)
	}
	return "Error with the device's explanation", nil
}

func (s *Story) checkNotNow(ctx context.Context) (string, error) {
	d, err := s.one(appledev.Mac, 0)
	if err != nil {
		return "", err
	}
	d.Faults().NotNow(1, "ProfileList")
	r, err := s.run(ctx, d, Command("ProfileList", ""))
	if err != nil {
		return "", err
	}
	if r.Status != "Acknowledged" {
		return "", fmt.Errorf("the device answered %s", r.Status)
	}
	return "acknowledged at the second try", nil
}

func (s *Story) checkRefusals(ctx context.Context) (string, error) {
	body := []byte(Command("ProfileList", ""))
	known := s.Fleet.Devices[0].Spec().UDID
	for _, c := range []struct {
		what  string
		raw   []byte
		hosts []string
		want  []int
	}{
		{"no hosts", body, []string{}, []int{422}},
		{"an unknown host", body, []string{"00000000-0000-0000-0000-00000000DEAD"}, []int{404}},
		{"a known and an unknown host", body, []string{known, "nobody"}, []int{404}},
		{"a payload that is no command", []byte("<plist><dict/></plist>"), []string{known}, []int{400, 415, 422}},
	} {
		_, err := s.o.Client.RunCommand(ctx, c.raw, c.hosts)
		if err == nil || !slices.Contains(c.want, client.StatusOf(err)) {
			return "", fmt.Errorf("%s: answered %d (%w)", c.what, client.StatusOf(err), err)
		}
	}
	return "each with a reason", nil
}

func (s *Story) checkBootstrap(ctx context.Context) (string, error) {
	macs := 0
	for _, d := range s.Fleet.Devices {
		if d.Spec().Model.Family != appledev.Mac {
			continue
		}
		macs++
		token, err := d.GetBootstrapToken(ctx)
		if err != nil {
			return "", err
		}
		if len(token) == 0 {
			return "", fmt.Errorf("%s: the server has no bootstrap token", d.Spec().Serial)
		}
	}
	return fmt.Sprintf("%d Macs", macs), nil
}

func (s *Story) checkLeave(ctx context.Context) (string, error) {
	d, err := s.one(appledev.IPhone, 1)
	if err != nil {
		return "", err
	}
	if err := d.Leave(ctx); err != nil {
		return "", err
	}
	h, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
	if err != nil {
		return "", err
	}
	if h.MDM.EnrollmentStatus == nil || *h.MDM.EnrollmentStatus != "Off" {
		return "", fmt.Errorf("host %s is not shown as off", d.Spec().Serial)
	}
	_, err = s.o.Client.RunCommand(ctx, []byte(Command("ProfileList", "")), []string{d.Spec().UDID})
	if client.StatusOf(err) != http.StatusPreconditionFailed {
		return "", fmt.Errorf("a command for it was answered %d (%w)", client.StatusOf(err), err)
	}
	return d.Spec().Serial + " is off", s.reenroll(ctx, d)
}

func (s *Story) checkReturn(ctx context.Context) (string, error) {
	d, err := s.one(appledev.IPad, 1)
	if err != nil {
		return "", err
	}
	before, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
	if err != nil {
		return "", err
	}
	d.Wipe()
	if err := s.reenroll(ctx, d); err != nil {
		return "", err
	}
	after, err := s.o.Client.HostByIdentifier(ctx, d.Spec().Serial)
	if err != nil {
		return "", err
	}
	if after.ID != before.ID {
		return "", fmt.Errorf("it became host %d, and was host %d", after.ID, before.ID)
	}
	return fmt.Sprintf("%s is host %d as before", d.Spec().Serial, after.ID), nil
}

// reenroll brings a device back and lets it run on.
func (s *Story) reenroll(ctx context.Context, d *appledev.Device) error {
	if err := d.Enroll(ctx, s.EnrollURL); err != nil {
		return fmt.Errorf("enroll %s again: %w", d.Spec().Serial, err)
	}
	s.keep(d)
	return nil
}

// Live lets the devices run, woken by pushes, until ctx ends. Wait waits for
// them.
func (s *Story) Live(ctx context.Context) {
	s.mu.Lock()
	s.alive = ctx
	waiting := slices.Clone(s.bought)
	s.mu.Unlock()
	for _, d := range waiting {
		s.keep(d)
	}
	for _, d := range s.Fleet.Devices {
		s.keep(d)
	}
}

func (s *Story) keep(d *appledev.Device) {
	s.wg.Go(func() { _ = d.Run(s.alive) }) // ends with the context, or when the device leaves
}

// Close gives the devices' connections back.
func (s *Story) Close() { s.devices.CloseIdleConnections() }

// Wait returns when no device runs any more.
func (s *Story) Wait() { s.wg.Wait() }
